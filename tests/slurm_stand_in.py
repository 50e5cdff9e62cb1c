"""Stands in for Slurm where none is installed: sbatch, squeue, sacct and scancel, by the name that it is called with.

Jobs start at once, each in a group of processes of its own, with what sbatch was asked for in their environment. The
folder of this file holds one file a job. A partition that is called "closed" takes no job, one that is called "full"
never starts one, and the state of a job that wrote a file "state" into its directory is that.
"""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

NAMES = ('sbatch', 'squeue', 'sacct', 'scancel')
HERE = Path(sys.argv[0]).resolve().parent
FIELD = '^^^'


def install(folder: Path) -> Path:
    """Put the four commands into ``folder``, for a PATH to begin with."""
    for name in NAMES:
        program = folder / name
        program.write_text(f'#!{sys.executable}\n{Path(__file__).read_text()}')
        program.chmod(0o755)
    return folder


def jobs():
    return {path.stem: json.loads(path.read_text()) for path in HERE.glob('*.job')}


def is_there(job):
    if job['partition'] == 'full':
        return True
    try:
        return Path(f'/proc/{job["pid"]}/stat').read_text().split()[2] != 'Z'
    except OSError:
        return False


def sbatch(script):
    asked = dict(re.findall(r'^#SBATCH --([a-z-]+)=(.*)$', Path(script).read_text(), re.MULTILINE))
    partition = asked.get('partition', 'main')
    if partition == 'closed':
        sys.exit('sbatch: error: Batch job submission failed: Required partition not available')
    number = str(max([0, *map(int, jobs())]) + 1)
    command = ['sleep', '1'] if partition == 'full' else [str(Path(script).resolve())]
    given = {'SLURM_JOB_ID': number, 'SLURM_CPUS_ON_NODE': asked.get('cpus-per-task', '1')}
    if 'cpus-per-task' in asked:
        given['SLURM_CPUS_PER_TASK'] = asked['cpus-per-task']
    Path(script).chmod(0o755)
    with open(asked['output'], 'w') as out, open(asked['error'], 'w') as err:
        job = subprocess.Popen(
            command,
            env={**os.environ, **given},
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
    written = {'pid': job.pid, 'asked': asked, 'partition': partition, 'directory': os.getcwd()}
    (HERE / f'{number}.job').write_text(json.dumps(written))
    print(f'Submitted batch job {number}')


def squeue(*words):
    wanted = next(word for word in words if word.startswith('--jobs=')).removeprefix('--jobs=').split(',')
    for number, job in jobs().items():
        if number in wanted and is_there(job):
            state = 'PD' if job['partition'] == 'full' else 'R'
            print(
                FIELD.join(
                    [number, state, 'None', 'here', 'me', '1', '1', 'here', job['partition'], '1:00', '0:01']
                    + ['2024-01-01T00:00:00', 'job', '2024-01-01T00:00:00']
                )
            )


def sacct(*words):
    if '--helpformat' in words:
        print('JobID State ExitCode')
        return
    number = next(word for word in words if word.startswith('--jobs=')).removeprefix('--jobs=')
    told = Path(jobs()[number]['directory']) / 'state'
    print(f'JobID|State|ExitCode|\n{number}|{told.read_text().strip() if told.exists() else "COMPLETED"}|0:0|')


def scancel(number):
    os.killpg(jobs()[number]['pid'], signal.SIGTERM)


if __name__ == '__main__':
    globals()[Path(sys.argv[0]).name](*sys.argv[1:])
