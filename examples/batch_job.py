"""Many questions that can wait, at about half the price: hand them in, leave, come back, and fetch the answers.

Run it twice: the second run finds the job of the first by its id and pays for nothing. The daemon is found as always: AIGEN_SOCKET
or the usual places. Real jobs take hours; `--wait` stays until the last answer is there.
"""

import argparse
import sys
from collections.abc import Sequence

import aigen

JOB_ID = "town-risks-1"  # the same id is the same job, however often this is run
TOWNS = ("Bergen", "Ghent", "Porto", "Turku")


def questions(model: str) -> list[aigen.CompletionRequest]:
    """Return what is asked: one request a town."""
    return [aigen.CompletionRequest(f"Name one risk of a bakery in {town}.", model=model, max_output_tokens=200) for town in TOWNS]


def main(argv: Sequence[str] | None = None) -> int:
    """Hand the job in, or find it, and show what is there; the exit code is 1 where a question failed."""
    parser = argparse.ArgumentParser(description="Hand in a batch job and fetch its answers.")
    parser.add_argument("--model", default="openai/gpt-4o-mini", help="a model of a provider with a batch API")
    parser.add_argument("--wait", action="store_true", help="stay until the last answer is there")
    options = parser.parse_args(argv)
    failed = 0
    with aigen.Client() as client, client.session("nightly"):
        job = client.create_batch_job(questions(options.model), job_id=JOB_ID)
        for result in client.batch_job_results(job.id, wait=options.wait, timeout=float("inf")):
            failed += result.error is not None
            print(f"{TOWNS[result.index]}: {result.completion.text if result.completion else result.error}")
        job = client.batch_job(job.id)
    cost, saved = (f"{nanos / 1e9:.6f} USD" for nanos in (job.cost_usd_nanos, job.saved_usd_nanos))
    print(f"{job.ended_count} of {job.item_count} answered: {cost}, saved {saved}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
