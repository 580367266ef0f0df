"""Functions run in processes of their own, which may be killed or train together."""

import multiprocessing
import os
import socket

import torch

# The server has everything imported, so a process starts in no time.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["mindface.training.recognition.train", "torch._dynamo"])


def apart(function, *arguments):
    """Runs a function in a process; its exit code, which is below 0 if a signal ended it."""
    return _finished([_started(function, {}, arguments)])[0]


def together(function, processes, *arguments):
    """Runs a function in processes that torchrun might have started; their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": processes}
    places = [{"RANK": rank, "LOCAL_RANK": rank, **shared} for rank in range(processes)]
    return _finished([_started(function, place, arguments) for place in places])


def _started(function, environment, arguments):
    process = CONTEXT.Process(target=_run, args=(function, environment, arguments))
    process.start()
    return process


def _run(function, environment, arguments):
    torch.set_num_threads(1)
    os.environ.update({name: str(value) for name, value in environment.items()})
    function(*arguments)


def _finished(processes):
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]
