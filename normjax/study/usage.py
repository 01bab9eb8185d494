"""What launch.py answers without a study: --help, --list, --completion.

Loads nothing that takes long unless it is asked for.
"""

from collections.abc import Sequence

from normjax.errors import pick

EXAMPLES = {"config": "configs/quickstart.py", "workdir": "runs/quickstart"}
HELP = ("help", "helpshort", "helpfull", "h", "?")
USAGE = f"""\
Trains every arm of a study over its seeds, and writes a record and a page.

    python launch.py --config={EXAMPLES["config"]} --workdir={EXAMPLES["workdir"]}

--config=FILE[:ARGS]   a file of configs/ and its arguments, size=smoke,...;
                       or the config.json of a record, which runs it again
--workdir=FOLDER       of the record and its page; the same command goes on
--config.FIELD=VALUE   another value: --config.num_seeds=3,
                       --config.arms.norm=none,batch,
                       --config.settings.learning_rate=0.03,0.1
--list[=KIND]          names with a line each: configs, fields, norms, models,
                       optimizers, schedules, probes, datasets, ...
--dry_run              compiles each arm, and tells what a run would take
--arms=A,B             train these arms only
--until=decided        add seeds until all claims and differences are decided,
--max_seeds=200        or until there are so many
--export=TOOLS         write it for tensorboard, wandb, mlflow, safetensors too
--distributed          share the work with other processes on that workdir:
                       those of SLURM, Open MPI, Kubernetes, a TPU pod, or with
--coordinator=HOST:PORT --num_processes=N --process=K
--completion=bash|zsh  a script for the shell: source <(python launch.py ...)"""
SHELLS = ("bash", "zsh")
TOOLS = ("tensorboard", "wandb", "mlflow", "safetensors")  # those of --export
FLAGS = (
    "--config= --workdir= --list --dry_run --arms= --until=decided --max_seeds="
    " --export= --export_as= --distributed --coordinator= --num_processes= --process="
    " --completion= --help"
)
PLACEHOLDERS = ("NAME", "FILE.npz")  # in lists: what stands for a name of the user's


def reply(words: Sequence[str]) -> str | None:
    """What the flags ask to be told, or None if they ask for a study.

    Raises:
        InputError: for a kind that cannot be listed, or a shell that is not known.
    """
    for word, following in zip(words, [*words[1:], ""]):
        name, given, value = word.lstrip("-").partition("=")
        if not word.startswith("-"):
            continue
        if name in HELP:
            return USAGE
        value = value if given or following.startswith("-") else following
        if name == "list":
            return listed(value)
        if name == "completion":
            return completion(value)
    return None


def listed(kind: str) -> str:
    """The names of a kind, or the configs and the kinds that there are."""
    from normjax.study import listing

    if kind:
        return listing.text(kind)
    more = "\n".join(f"  --list={kind}" for kind in listing.KINDS)
    return f"{listing.text('configs')}\n\nmore\n{more}"


def completion(shell: str) -> str:
    """A script that completes configs, fields, and the names that fields take."""
    from normjax.study import listing

    pick("--completion", dict.fromkeys(SHELLS), shell)
    cases = []
    for kind, (flag, listed_names) in listing.KINDS.items():
        if kind not in ("configs", "fields"):
            own = " ".join(name for name in listed_names() if name not in PLACEHOLDERS)
            cases.append(f"{flag.rstrip('=')}) words='{own}' ;;")
    fields = " ".join(f"--config.{name}=" for name in listing.config_fields())
    script = BASH.format(
        cases="\n    ".join(cases),
        kinds=" ".join(listing.KINDS),
        flags=f"{FLAGS} {fields}",
        tools=" ".join(TOOLS),
    )
    head = "autoload -U +X compinit bashcompinit && compinit -u && bashcompinit\n"
    return (head if shell == "zsh" else "") + script


# bash makes words of its own of `=`; zsh does not
BASH = """\
_normjax() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" flag="" words="" before=""
  local script="${{COMP_WORDS[0]}}"
  case "${{script##*/}}" in python*)
    for script in "${{COMP_WORDS[@]:1}}"; do [[ "$script" == -* ]] || break; done ;;
  esac
  if [[ "${{script##*/}}" != launch.py ]]; then
    [[ -z "$_normjax_before" ]] || "$_normjax_before" "$@"
    return
  fi
  if [[ "$current" == "=" ]]; then
    flag="${{COMP_WORDS[COMP_CWORD-1]}}" current=""
  elif [[ "${{COMP_WORDS[COMP_CWORD-1]}}" == "=" ]]; then
    flag="${{COMP_WORDS[COMP_CWORD-2]}}"
  elif [[ "$current" == --*=* ]]; then
    flag="${{current%%=*}}" before="${{current%%=*}}=" current="${{current#*=}}"
  fi
  case "$flag" in
    "") words='{flags}' ;;
    --config) words="$(compgen -f -X '!*.py' -- "$current"
                       compgen -f -X '!*config.json' -- "$current"
                       compgen -d -S / -- "$current")" ;;
    --workdir) words="$(compgen -d -- "$current")" ;;
    --list) words='{kinds}' ;;
    --export) words='{tools}' ;;
    --export_as) words='networks arms' ;;
    --until) words='decided' ;;
    --completion) words='bash zsh' ;;
    {cases}
  esac
  case "$current" in
    *,*) before="$before${{current%,*}}," current="${{current##*,}}" ;;
  esac
  COMPREPLY=($(compgen -P "$before" -W "$words" -- "$current"))
  [[ "${{COMPREPLY[0]}}" == *[=/] ]] && compopt -o nospace 2>/dev/null
  return 0
}}
# what completes other scripts of python goes on to do so
_normjax_found=""
if [[ -n "$ZSH_VERSION" ]]; then
  _normjax_found="${{_comps[python]}}"
else
  declare -F _completion_loader > /dev/null && _completion_loader python
  _normjax_found="$(complete -p python 2> /dev/null)"
  case "$_normjax_found" in
    *" -F "*) _normjax_found="${{_normjax_found##* -F }}" ;;
    *) _normjax_found="" ;;
  esac
  _normjax_found="${{_normjax_found%% *}}"
fi
case "$_normjax_found" in
  _normjax|_bash_complete*) ;;
  *) _normjax_before="$_normjax_found" ;;
esac
complete -o default -F _normjax python python3 launch.py ./launch.py
"""
