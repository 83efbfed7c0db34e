"""Pages, API and client files over HTTP/1.1 and HTTP/2.

:mod:`~wtgateway.web.app` is a pure ASGI application that asks a :class:`~wtgateway.web.view.GatewayView`
for everything it says; :mod:`~wtgateway.web.server` runs it on hypercorn. May import media and
errors of the project, never the gateway itself. Nothing here is on the media path.
"""
