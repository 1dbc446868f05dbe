"""What pages may call, and what stands behind it; nothing here imports Streamlit."""
