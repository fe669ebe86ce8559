"""The web API and the pages that people upload to, on top of ``client.Detector``.

Three kinds of process: the API (``console.server``: light, never touches a picture), workers (``console.worker``: preprocess,
ask Triton, write results) and the supervisor that keeps them running. They share nothing but a database and a folder.
"""
