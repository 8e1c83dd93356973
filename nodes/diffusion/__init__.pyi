from . import (
    adapters as adapters,
    families as families,
    formats as formats,
    handles as handles,
    merging as merging,
    models as models,
    optimization as optimization,
    pictures as pictures,
    sampling as sampling,
    text as text,
    training as training,
)
from .devices import (
    DTYPES as DTYPES,
    choose_device as choose_device,
    drawing_precision as drawing_precision,
    encoding_precision as encoding_precision,
    resident_precision as resident_precision,
    training_precision as training_precision,
)
from .errors import InputError as InputError

LIBRARY: bool
