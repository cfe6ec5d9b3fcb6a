"""MLflow: what is logged, where, and how. Nothing outside this package imports mlflow.

A stage that DVC restores from its cache logs nothing while it runs, so the last stage, `track`,
logs what their files say: `record` collects it, `pipeline` writes the run of a pipeline state,
`children` its trainings, `registry` its models. `live` shows a training while it runs.
"""
