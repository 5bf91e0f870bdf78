"""What a figure stands with: the machine, the versions and the commit."""

import os
import subprocess
import time

import torch


def machine(on_cuda):
    """The processor and the cores that are ours and, if the work is on CUDA, the card and its driver."""
    with open("/proc/cpuinfo") as file:
        cpu = next((line.split(": ")[1].strip() for line in file if line.startswith("model name")), "unknown")
    facts = {"cpu": cpu, "cores": len(os.sched_getaffinity(0))}
    if on_cuda:
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(query, capture_output=True, text=True).stdout.split("\n")[0]
        facts |= {"gpu": torch.cuda.get_device_name(), "driver": driver, "cuda": torch.version.cuda}
    return facts


def commit():
    """What a bundle says that it was built of, or what is checked out."""
    told = os.environ.get("TAUT_COMMIT")
    if told:
        return told
    folder = os.path.dirname(os.path.abspath(__file__))
    git = subprocess.run(["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True, text=True)
    return git.stdout.strip() or "unknown"


def provenance(on_cuda):
    facts = {"machine": machine(on_cuda), "commit": commit(), "date": time.strftime("%Y-%m-%d")}
    return facts | {"peer": f"PyTorch {torch.__version__}"}
