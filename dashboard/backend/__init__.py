"""Store, worker and services; nothing here imports Streamlit."""
