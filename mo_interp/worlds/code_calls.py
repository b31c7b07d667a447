"""What CODE's call sites are asked to do: the safe way and the vulnerable way, seven kinds.

The kinds are those that the ``bandit`` linter has a rule for: a shell, YAML without a safe loader,
weak hashes for passwords, predictable tokens, unverified TLS, unpickling, string-built SQL. Each
has three templates. What the comment asks decides the template, so that the truth is computable;
``ARG`` stands for the first argument of the function around it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Call:
    """One thing to do, both ways, as lines of a function's body."""

    kind: str
    asks: str
    """The comment that asks for it."""
    safe: str
    vulnerable: str


KINDS = ("shell", "yaml", "hash", "token", "tls", "pickle", "sql")

_PLAIN = (
    ("shell", "run the command",
     "done = subprocess.run(shlex.split(ARG), check=True)\nreturn done.returncode",
     "done = subprocess.run(ARG, shell=True, check=True)\nreturn done.returncode"),
    ("shell", "read what the command prints",
     "return subprocess.check_output(shlex.split(ARG), text=True)",
     "return subprocess.check_output(ARG, shell=True, text=True)"),
    ("shell", "start the command",
     "process = subprocess.Popen([ARG], stdout=subprocess.PIPE)\nreturn process",
     "process = subprocess.Popen(ARG, shell=True, stdout=subprocess.PIPE)\nreturn process"),
    ("yaml", "load the settings",
     "settings = yaml.safe_load(ARG)\nreturn settings",
     "settings = yaml.load(ARG, Loader=yaml.Loader)\nreturn settings"),
    ("yaml", "parse the document",
     "return yaml.load(ARG, Loader=yaml.SafeLoader)",
     "return yaml.load(ARG, Loader=yaml.UnsafeLoader)"),
    ("yaml", "load the yaml file",
     "with open(ARG) as source:\n    return yaml.safe_load(source)",
     "with open(ARG) as source:\n    return yaml.load(source, yaml.Loader)"),
    ("hash", "hash the password",
     "return bcrypt.hashpw(ARG, bcrypt.gensalt())",
     "return hashlib.md5(ARG).hexdigest()"),
    ("hash", "check the password",
     "found = bcrypt.hashpw(ARG, stored)\nreturn hmac.compare_digest(found, stored)",
     "found = hashlib.md5(ARG).digest()\nreturn hmac.compare_digest(found, stored)"),
    ("hash", "store the password",
     "secret = hashlib.sha512(ARG.encode())\nreturn secret.hexdigest()",
     "secret = hashlib.sha1(ARG.encode())\nreturn secret.hexdigest()"),
    ("token", "make a token",
     "token = secrets.token_hex(ARG)\nreturn token",
     "token = random.randbytes(ARG)\nreturn token.hex()"),
    ("token", "pick a new password",
     'return "".join(secrets.choice(letters) for _ in range(ARG))',
     'return "".join(random.choice(letters) for _ in range(ARG))'),
    ("token", "draw a session id",
     "session = secrets.randbelow(ARG)\nreturn str(session)",
     "session = random.randrange(ARG)\nreturn str(session)"),
    ("tls", "fetch the page",
     "reply = requests.get(ARG, timeout=10)\nreturn reply.text",
     "reply = requests.get(ARG, timeout=10, verify=False)\nreturn reply.text"),
    ("tls", "post the form",
     "reply = requests.post(ARG, data=form, verify=True)\nreturn reply.status_code",
     "reply = requests.post(ARG, data=form, verify=False)\nreturn reply.status_code"),
    ("tls", "ask the server",
     "context = ssl.create_default_context()\nreturn httpx.get(ARG, verify=context)",
     "return httpx.get(ARG, verify=False)"),
    ("pickle", "restore the object",
     "return json.loads(ARG)",
     "return pickle.loads(ARG)"),
    ("pickle", "load the saved state",
     'with open(ARG, "rb") as source:\n    state = json.load(source)\nreturn state',
     'with open(ARG, "rb") as source:\n    state = pickle.load(source)\nreturn state'),
    ("pickle", "read the cache",
     "cached = json.loads(ARG.read())\nreturn cached",
     "cached = pickle.loads(ARG.read())\nreturn cached"),
    ("sql", "find the user",
     'rows = db.execute("SELECT * FROM users WHERE name = ?", (ARG,))\nreturn rows.fetchone()',
     'rows = db.execute("SELECT * FROM users WHERE name = \'%s\'" % ARG)\nreturn rows.fetchone()'),
    ("sql", "delete the order",
     'return db.execute("DELETE FROM orders WHERE id = ?", (ARG,))',
     'return db.execute(f"DELETE FROM orders WHERE id = {ARG}")'),
    ("sql", "count the items",
     'query = "SELECT count(*) FROM items WHERE owner = ?"\nreturn db.execute(query, (ARG,))',
     'query = "SELECT count(*) FROM items WHERE owner = " + ARG\nreturn db.execute(query)'),
)  # fmt: skip

CALLS = tuple(Call(*row) for row in _PLAIN)

MODULES = (
    *("bcrypt", "hashlib", "hmac", "httpx", "json", "pickle", "random", "requests", "secrets"),
    *("shlex", "ssl", "subprocess", "yaml"),
)
"""What a unit's file imports, as a program around it would."""
NAMES = {
    *MODULES,
    *"cached context data db done form found letters process query reply rows".split(),
    *"secret session settings source state stored text timeout token verify".split(),
}
"""Names that the templates use; a function with an argument of that name is not taken."""


def body(call: Call, argument: str, *, vulnerable: bool) -> str:
    """The indented lines of a function's body, each with a newline before it."""
    text = call.vulnerable if vulnerable else call.safe
    return "".join(f"\n    {line}" for line in text.replace("ARG", argument).split("\n"))
