"""Plotly figures: pure functions of DataFrames, each with an alt text that states the takeaway."""
