"""A render → whose each of its characters is: message, kind, headers, turns, fields.

In: a :class:`~chatspan.render.rendered.Render` and what is known of its template. Out: an
:class:`~chatspan.attribute.attributed.AttributedRender`. Imports ``render`` and ``tokenize``.
"""
