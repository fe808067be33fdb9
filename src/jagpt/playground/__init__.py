"""A web page to try a model, or two side by side (extra `jagpt[playground]`).

    Limits      what one request may cost, and how many may wait
    Job         the continuations of one request, made by turns
    Desk        who is served, who waits, who is asked to come back later
    boxes       what is kept for visitors until they fetch it
    page        what the browser shows of a job, every character escaped
    app         the gradio page
    gate        what a request must look like, and what every answer carries
    log         what the server's log says of requests that fail
    ending      the connections: slow clients, and shutting down
    server      serving it until a signal

Only `app` imports gradio.
"""

from jagpt.playground.desk import Desk
from jagpt.playground.job import Job
from jagpt.playground.limits import Limits

__all__ = ["Desk", "Job", "Limits"]
