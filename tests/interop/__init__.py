"""Other WebTransport clients against our endpoint, each in a virtual environment that the tests make."""
