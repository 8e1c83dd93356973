from .buckets import bucket_sizes as bucket_sizes, nearest_bucket as nearest_bucket, plan_views as plan_views
from .clip_image_embeddings import load_image_embedder as load_image_embedder
from .clip_tagging import load_tagger as load_tagger
from .grids import Row as Row, draw_grid as draw_grid
from .image_metrics import clip_i as clip_i, clip_t as clip_t, in_known_words as in_known_words, mean_psnr as mean_psnr
from .image_to_text import load_captioner as load_captioner
from .pictures import (
    as_tensor as as_tensor,
    cutout_of as cutout_of,
    in_a_row as in_a_row,
    open_picture as open_picture,
    picture_of as picture_of,
    psnr as psnr,
    render as render,
    save_png as save_png,
)
from .scenes import Cutout as Cutout, draw_scene as draw_scene
