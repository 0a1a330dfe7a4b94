"""An MLflow model from code whose type hints are its signature."""

import mlflow
import pydantic


class Person(pydantic.BaseModel):
    name: str
    age: int


class Greeter(mlflow.pyfunc.PythonModel):
    def predict(self, model_input: list[Person], params=None) -> list[str]:
        if not model_input[0].name:
            raise ValueError("nobody")
        return [f"{person.name} is {person.age}" for person in model_input]


mlflow.models.set_model(Greeter())
