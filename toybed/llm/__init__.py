"""Logs of RL runs of language models, read into one table, whatever program wrote them.

``read(paths)`` recognises each file by its content and gives a :class:`~toybed.llm.table.Table` for each run. How rows
are written (console lines, JSON, CSV, event files: ``formats``) and what their keys mean (TRL, verl, ...:
``frameworks``) are two tables that know nothing of each other, because W&B, TensorBoard, MLflow and CSV hold the keys
of any framework.
"""

from toybed.llm.reading import read
from toybed.llm.table import COLUMNS, Source, Table

__all__ = ["COLUMNS", "Source", "Table", "read"]
