from .changed_weights import (
    check_shapes as check_shapes,
    parameter_shapes as parameter_shapes,
    weights_in as weights_in,
    weights_of as weights_of,
)
from .extract_lora import Difference as Difference, Side as Side
from .git_rebasin import Rebasin as Rebasin
from .lora_arithmetic import Weighted as Weighted, summed as summed
from .modelspec import merge_metadata as merge_metadata
from .plan import planned as planned
from .read_tensors import reading as reading
from .write_checkpoint import write_merged as write_merged
from .write_lora import LoraMaker as LoraMaker
