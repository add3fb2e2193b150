"""Messages → text, and where each of its characters came from.

In: a :class:`~chatspan.render.request.RenderRequest`. Out: a :class:`~chatspan.render.rendered.Render`, whose text is
transformers' own. ``renderer.py`` decides which engine works, ``native/`` (the core) or ``jinja/`` (traced Jinja2).
"""
