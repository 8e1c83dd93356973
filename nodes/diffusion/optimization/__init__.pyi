from .loop import StepDone as StepDone, minimize as minimize
from .training_state import TrainingState as TrainingState, bytes_of as bytes_of
