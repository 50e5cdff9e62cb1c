"""Private services in a folder, on free ports: PostgreSQL, RabbitMQ, Slurm and SSH, started and stopped by hand."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

#: Seconds in which a service starts or stops, even where the machine is busy with other things.
PATIENCE = 120
#: Where Debian keeps programs that are not on PATH.
RABBITMQ = os.environ.get('UFPNMR_RABBITMQ', '/usr/lib/rabbitmq/bin')
PLACES = ('/usr/sbin', RABBITMQ, *map(str, sorted(Path('/usr/lib/postgresql').glob('*/bin'), reverse=True)))
#: The programs that are needed.
NEEDED = (
    *('postgres', 'initdb', 'rabbitmqctl', 'epmd', 'slurmctld', 'slurmd', 'squeue', 'munged', 'sshd', 'ssh-keygen'),
    'setpriv',
)


def program(name: str) -> str | None:
    """The path of a program; Debian's own wrappers of RabbitMQ, which change the user, come last."""
    return shutil.which(name, path=os.pathsep.join((*PLACES[1:], os.environ['PATH'], PLACES[0])))


def missing() -> list[str]:
    """What stands against having the services: programs that are not there, or the user."""
    return [*(name for name in NEEDED if program(name) is None), *([] if os.geteuid() == 0 else ['the user root'])]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def wait_for(what: str, condition: Callable[[], object], patience: float = PATIENCE) -> object:
    """What ``condition`` gives, as soon as it is true."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.2)
    raise RuntimeError(f'{what}: not within {patience:g} s')


class Service:
    """Programs that run until they are stopped, with what they write in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[subprocess.Popen] = []

    def launch(self, words: Sequence[str], environment: Mapping[str, str] | None = None, **options) -> None:
        """Start a program in a session of its own, which ends with this one; what it says goes into a file."""
        path, guard = program(words[0]), program('setpriv')
        assert path is not None and guard is not None
        with open(self.folder / f'{words[0]}.out', 'ab') as said:
            self.running.append(
                subprocess.Popen(
                    [guard, '--pdeathsig', 'TERM', path, *words[1:]],
                    env={**os.environ, **(environment or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    **options,
                )
            )

    def begin(self) -> None:
        """Start the programs, in the main thread: they end with the thread that started them."""
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        self.begin()
        self.wait()

    def wait(self) -> None:
        wait_for(type(self).__name__, self.answers)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop all programs, the last one first, and whatever they started; kill what does not end."""
        for started in reversed(self.running):
            try:
                family = psutil.Process(started.pid).children(recursive=True)
            except psutil.NoSuchProcess:
                family = []
            started.send_signal(how)
            try:
                started.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()
            for member in psutil.wait_procs(family, timeout=5)[1]:
                member.kill()
        self.running.clear()

    def said(self) -> str:
        """The last words of all programs."""
        return '\n'.join(f'{path.name}: {path.read_text()[-2000:]}' for path in sorted(self.folder.glob('*.out')))


class PostgreSQL(Service):
    """A server with an empty database ``aiida`` of a user ``aiida``, who needs no password."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = free_port()
        self.user = pwd.getpwnam('postgres')  # the server refuses to run as root
        self.as_user = {'user': self.user.pw_uid, 'group': self.user.pw_gid, 'extra_groups': [], 'cwd': '/'}
        data = folder / 'data'
        data.mkdir()
        os.chown(data, self.user.pw_uid, self.user.pw_gid)
        words = ['initdb', '-D', data, '-A', 'trust', '-U', 'aiida', '-E', 'UTF8', '--locale=C', '--no-sync']
        subprocess.run([program('initdb'), *words[1:]], check=True, capture_output=True, **self.as_user)

    def begin(self) -> None:
        options = {'port': self.port, 'listen_addresses': '127.0.0.1', 'unix_socket_directories': '', 'fsync': 'off'}
        settings = [word for name, value in options.items() for word in ('-c', f'{name}={value}')]
        self.launch(['postgres', '-D', str(self.folder / 'data'), *settings], **self.as_user)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop as ``restart`` does: connections are cut."""
        super().stop(how)

    def answers(self) -> bool:
        command = [
            program('psql'),
            '-h',
            '127.0.0.1',
            '-p',
            str(self.port),
            '-U',
            'aiida',
            'postgres',
            '-c',
            'select 1',
        ]
        return subprocess.run(command, capture_output=True).returncode == 0

    def create(self, database: str) -> None:
        command = [program('createdb'), '-h', '127.0.0.1', '-p', str(self.port), '-U', 'aiida', database]
        subprocess.run(command, check=True, capture_output=True)


class RabbitMQ(Service):
    """A node with a name, ports, a port mapper and a data folder of its own.

    Args:
        consumer_timeout: in Erlang; the server's default where not given.
    """

    def __init__(self, folder: Path, consumer_timeout: str | None = None) -> None:
        super().__init__(folder)
        self.port, self.mapper_port = free_port(), free_port()
        self.node = f'ufpnmr{self.port}@localhost'
        entries = [] if consumer_timeout is None else [f'{{consumer_timeout, {consumer_timeout}}}']
        (folder / 'advanced.config').write_text(f'[{{rabbit, [{", ".join(entries)}]}}].\n')
        (folder / 'rabbitmq.conf').write_text(f'listeners.tcp.1 = 127.0.0.1:{self.port}\nlog.console = true\n')
        (folder / 'plugins').write_text('[].\n')
        (folder / 'no-environment.conf').write_text('')
        #: What ``rabbitmqctl`` needs to find this node.
        self.environment = {
            'HOME': str(folder),  # the cookie is there
            'PATH': os.pathsep.join((RABBITMQ, os.environ['PATH'])),  # before the wrappers that change the user
            'RABBITMQ_NODENAME': self.node,
            'RABBITMQ_CONF_ENV_FILE': str(folder / 'no-environment.conf'),
            'RABBITMQ_CONFIG_FILE': str(folder / 'rabbitmq.conf'),
            'RABBITMQ_ADVANCED_CONFIG_FILE': str(folder / 'advanced.config'),
            'RABBITMQ_ENABLED_PLUGINS_FILE': str(folder / 'plugins'),
            'RABBITMQ_MNESIA_BASE': str(folder / 'data'),
            'RABBITMQ_LOG_BASE': str(folder / 'log'),
            'RABBITMQ_PID_FILE': str(folder / 'pid'),
            'RABBITMQ_DIST_PORT': str(free_port()),
            'ERL_EPMD_PORT': str(self.mapper_port),
            'ERL_EPMD_ADDRESS': '127.0.0.1',
        }

    def begin(self) -> None:
        self.launch(['epmd', '-port', str(self.mapper_port), '-address', '127.0.0.1'])
        self.launch(['rabbitmq-server'], self.environment)

    def answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            if probe.connect_ex(('127.0.0.1', self.port)) != 0:
                return False
            probe.sendall(b'AMQP\x00\x00\x09\x01')
            return probe.recv(1) == b'\x01'  # a frame of the protocol, not a refusal


class Slurm(Service):
    """A cluster of one node, which is this machine, with more processors than it has."""

    def __init__(self, folder: Path, processors: int = 4) -> None:
        super().__init__(folder)
        for name in ('munge', 'state', 'spool'):
            (folder / name).mkdir(mode=0o700)
        folder.chmod(0o755)
        (folder / 'munge').chmod(0o755)
        key = folder / 'munge.key'
        key.write_bytes(os.urandom(64))
        key.chmod(0o400)
        host = socket.gethostname()
        self.finished = folder / 'finished.txt'
        self.finished.touch()
        (folder / 'slurm.conf').write_text(
            '\n'.join(
                (
                    'ClusterName=ufpnmr',
                    f'SlurmctldHost={host}(127.0.0.1)',
                    f'SlurmctldPort={free_port()}',
                    f'SlurmdPort={free_port()}',
                    'SlurmUser=root',
                    'SlurmdUser=root',
                    f'AuthInfo=socket={folder}/munge/socket',
                    f'StateSaveLocation={folder}/state',
                    f'SlurmdSpoolDir={folder}/spool',
                    f'SlurmctldPidFile={folder}/slurmctld.pid',
                    f'SlurmdPidFile={folder}/slurmd.pid',
                    'ProctrackType=proctrack/linuxproc',
                    'TaskPlugin=task/none',
                    'JobAcctGatherType=jobacct_gather/none',
                    'AccountingStorageType=accounting_storage/none',
                    'JobCompType=jobcomp/filetxt',
                    f'JobCompLoc={self.finished}',
                    'SelectType=select/cons_tres',
                    'SelectTypeParameters=CR_Core',
                    'SchedulerParameters=batch_sched_delay=0,sched_interval=2',
                    'SlurmdParameters=config_overrides',
                    'MailProg=/bin/true',
                    'ReturnToService=2',
                    f'NodeName={host} NodeAddr=127.0.0.1 CPUs={processors} RealMemory=1000',
                    f'PartitionName=all Nodes={host} Default=YES DefMemPerCPU=1 MaxTime=60 State=UP',
                    '',
                )
            )
        )
        self.host = host
        #: What all commands of Slurm need.
        self.environment = {'SLURM_CONF': str(folder / 'slurm.conf')}

    def begin(self) -> None:
        munge = self.folder / 'munge'
        words = ('--key-file', str(self.folder / 'munge.key'), '--socket', str(munge / 'socket'))
        more = ('--pid-file', str(munge / 'pid'), '--log-file', str(munge / 'log'), '--seed-file', str(munge / 'seed'))
        self.launch(['munged', '--foreground', '--force', *words, *more])
        wait_for('munged', (munge / 'socket').exists)
        self.launch(['slurmctld', '-D'], self.environment)
        self.launch(['slurmd', '-D', '-N', self.host], self.environment)

    def answers(self) -> bool:
        return 'idle' in self.command('sinfo', '-h', '-o', '%T', check=False)

    def command(self, *words: str, check: bool = True) -> str:
        environment = {**os.environ, **self.environment}
        ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert not check or ended.returncode == 0, (words, ended.stderr, self.said())
        return ended.stdout

    def jobs(self) -> list[str]:
        """The numbers of the jobs that wait or run."""
        return self.command('squeue', '-h', '-o', '%i').split()

    def states(self) -> set[str]:
        return set(self.command('squeue', '-h', '-o', '%T').split())

    def drain(self) -> None:
        """Let the node begin no other job."""
        self.command('scontrol', 'update', f'NodeName={self.host}', 'State=DRAIN', 'Reason=maintenance')

    def resume(self) -> None:
        self.command('scontrol', 'update', f'NodeName={self.host}', 'State=RESUME')

    def ended(self) -> list[dict[str, str]]:
        """All jobs that have ended, as Slurm keeps them: ``JobId``, ``Name``, ``JobState``, ``WorkDir`` and more."""
        lines = self.finished.read_text().splitlines()
        return [dict(word.split('=', 1) for word in line.split() if '=' in word) for line in lines]


class SshServer(Service):
    """A server on this machine that lets one key in, and a home folder that knows it as ``cluster``.

    Args:
        environment: of all that is run through it.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        super().__init__(folder)
        self.port, self.home = free_port(), folder / 'home'
        known = self.home / '.ssh'
        known.mkdir(mode=0o700, parents=True)
        (known / 'known_hosts').touch()
        for key in (folder / 'host_key', known / 'key'):
            words = ['-q', '-t', 'ed25519', '-N', '', '-f', str(key)]
            subprocess.run([program('ssh-keygen') or '', *words], check=True)
        settings = {
            'Port': self.port,
            'ListenAddress': '127.0.0.1',
            'HostKey': folder / 'host_key',
            'AuthorizedKeysFile': known / 'key.pub',
            'PidFile': folder / 'pid',
            'StrictModes': 'no',
            'PasswordAuthentication': 'no',
            'Subsystem': 'sftp internal-sftp',
            'SetEnv': ' '.join(f'{name}={value}' for name, value in environment.items()),
        }
        (folder / 'sshd_config').write_text(''.join(f'{name} {value}\n' for name, value in settings.items()))
        client = {'HostName': '127.0.0.1', 'Port': self.port, 'User': pwd.getpwuid(os.geteuid()).pw_name,
                  'IdentityFile': known / 'key', 'UserKnownHostsFile': known / 'known_hosts'}  # fmt: skip
        (known / 'config').write_text(
            'Host cluster\n' + ''.join(f'  {name} {value}\n' for name, value in client.items())
        )

    def trust(self) -> None:
        """Write down the key of the server, as the first ``ssh cluster`` would."""
        key = (self.folder / 'host_key.pub').read_text()
        (self.home / '.ssh' / 'known_hosts').write_text(f'[127.0.0.1]:{self.port} {key}')

    def begin(self) -> None:
        Path('/run/sshd').mkdir(mode=0o755, exist_ok=True)
        self.launch(['sshd', '-D', '-e', '-f', str(self.folder / 'sshd_config')])

    def answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex(('127.0.0.1', self.port)) == 0 and probe.recv(4) == b'SSH-'
