"""What a task is and where its rows come from: files, GLUE, the embedded tasks; its metrics."""
