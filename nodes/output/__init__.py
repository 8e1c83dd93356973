"""Output: files and pictures that leave the program."""
