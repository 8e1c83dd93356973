from .loop import minimize as minimize
from .training_state import Checkpoint as Checkpoint, bytes_of as bytes_of
