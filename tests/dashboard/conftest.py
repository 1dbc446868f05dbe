"""Fixtures of the page tests: the app with fake services behind the seam."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard.components import state
from tests.dashboard.fakes import FakeServices

ENTRYPOINT = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"
TIMEOUT = 30.0
"""Seconds; the first page of a process imports plotly, scipy and pandas."""

Open = Callable[..., AppTest]


def answer(app: AppTest) -> str:
    """The sentence below the question."""
    return app.header[0].value


def clean(app: AppTest) -> bool:
    """Neither an exception nor an error message."""
    return not app.exception and not app.error


def shown(message: str) -> str:
    """A message as the person reads it, without the marks that keep Markdown out."""
    return message.replace("\\", "")


def press(app: AppTest, label: str) -> None:
    """Click the button with this label."""
    next(button for button in app.button if button.label == label).click().run()


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServices]:
    """Fake services that every page of this test sees."""
    fake = FakeServices()
    st.cache_data.clear()
    st.cache_resource.clear()
    monkeypatch.setattr(state, "services", lambda: fake)
    yield fake
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def open_page(services: FakeServices) -> Open:
    """Open a page from the entrypoint, as the browser does."""

    def opened(name: str = "inbox", *, expanded: tuple[str, ...] = (), **query: str) -> AppTest:
        app = AppTest.from_file(str(ENTRYPOINT), default_timeout=TIMEOUT)
        for key in expanded:
            app.session_state[key] = True
        for key, value in query.items():
            app.query_params[key] = value
        app.run()
        if name != "inbox":
            app.switch_page(state.PAGES[name]).run()
            if query:
                # A page switch empties the query; the address of a real browser keeps it.
                for key, value in query.items():
                    app.query_params[key] = value
                app.run()
        return app

    return opened
