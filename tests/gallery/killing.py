"""Work that is killed at a moment."""

import os
import signal
import time
import traceback
import warnings


def killed(work, seconds):
    """Starts a process that works, and kills it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # BLAS has threads
        process = os.fork()
    if process == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
