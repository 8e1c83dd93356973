from .ddim import ddim_schedule as ddim_schedule, invert as invert
from .edit_inversion import replay_and_edit as replay_and_edit
from .image_variation import sample_variations as sample_variations
from .null_text import NullTextTask as NullTextTask, first_null_text as first_null_text, optimize_null_text as optimize_null_text
from .sampler import decode as decode, make_scheduler as make_scheduler, sample as sample
from .saved_inversions import (
    check_model as check_model,
    facts_from as facts_from,
    metadata_of as metadata_of,
    read_file as read_file,
    read_path as read_path,
    read_picture as read_picture,
    read_uncond as read_uncond,
)
