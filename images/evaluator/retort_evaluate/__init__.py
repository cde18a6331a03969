"""Retort's evaluate stage: asks the base and the merged model the test set, grades every answer, writes the report."""
