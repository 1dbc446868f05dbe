"""The Streamlit application: pages, components and a backend without Streamlit."""
