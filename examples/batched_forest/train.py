"""Train the model of this example and write it to model/ beside this file."""

from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

FOLDER = Path(__file__).resolve().parent / "model"


def main() -> None:
    """Fit a hundred trees to 150 iris flowers."""
    flowers = load_iris()
    species = flowers.target_names[flowers.target]
    train_x, test_x, train_y, test_y = train_test_split(flowers.data, species, random_state=0)
    model = RandomForestClassifier(100, random_state=0)
    model.fit(train_x, train_y)
    FOLDER.mkdir(exist_ok=True)
    joblib.dump(model, FOLDER / "model.joblib")
    print(f"Right for {model.score(test_x, test_y):.0%} of the flowers that it has not seen")


if __name__ == "__main__":
    main()
