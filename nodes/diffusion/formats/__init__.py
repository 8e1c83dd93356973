"""Files of models: the header reader, the writer, pickles, model folders and single files."""
