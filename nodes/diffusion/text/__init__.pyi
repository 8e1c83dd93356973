from .chunks import cut_warning as cut_warning
from .clip_text_embeddings import load_text_embedder as load_text_embedder
from .encoding import (
    cut_words as cut_words,
    word_features as word_features,
)
from .placeholder_tokens import check_new as check_new, holds_word as holds_word, initial_token as initial_token
