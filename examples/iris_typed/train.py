"""Train the model of this example and write it to model/ beside this file."""

from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

FOLDER = Path(__file__).resolve().parent / "model"


def main() -> None:
    """Fit a classifier that tells three species apart by the measures of their flowers."""
    measures, species = load_iris(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(measures, species, random_state=0)
    model = LogisticRegression(max_iter=1000).fit(train_x, train_y)
    FOLDER.mkdir(exist_ok=True)
    joblib.dump(model, FOLDER / "model.joblib")
    print(f"Accuracy on flowers it has not seen: {model.score(test_x, test_y):.2f}")


if __name__ == "__main__":
    main()
