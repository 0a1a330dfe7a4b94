"""Train the models of this example and write them to model/ beside this file."""

from pathlib import Path

import joblib
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsRegressor

FOLDER = Path(__file__).resolve().parent / "model"
SIDE = 8


def main() -> None:
    """Fit one model per row of an image, each predicting its row from all the rows above."""
    train, test = train_test_split(load_digits().data, random_state=0)
    models = {}
    for row in range(1, SIDE):
        above, following = slice(0, row * SIDE), slice(row * SIDE, (row + 1) * SIDE)
        models[row] = KNeighborsRegressor(n_neighbors=5, weights="distance").fit(train[:, above], train[:, following])
        print(f"R2 for row {row}: {models[row].score(test[:, above], test[:, following]):.2f}")
    FOLDER.mkdir(exist_ok=True)
    joblib.dump(models, FOLDER / "model.joblib")


if __name__ == "__main__":
    main()
