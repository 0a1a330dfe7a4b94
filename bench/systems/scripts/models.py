"""Makes the models of the works, in the environment of the system that serves them: the same data, the same seed.

Usage: python models.py FOLDER
"""

import sys
from pathlib import Path

import joblib
import numpy as np
from sklearn.ensemble import RandomForestClassifier

FEATURES, CLASSES, TREES = 10, 3, 100


def main() -> None:
    """Fit a random forest on random numbers whose class follows from their sum."""
    source = np.random.default_rng(0)
    rows = source.random((2000, FEATURES))
    classes = np.digitize(rows.sum(axis=1), [4.5, 5.5])
    forest = RandomForestClassifier(n_estimators=TREES, random_state=0).fit(rows, classes)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(forest, folder / "forest.joblib")


if __name__ == "__main__":
    main()
