"""Checks accounts against an HTTP service whose tokens expire; `service.py` plays the service."""

import json
import urllib.error
import urllib.request

from taskyard import ItemContext, RefreshNeeded, Yard

SERVICE = "http://127.0.0.1:8765"

yard = Yard()


def sign_in() -> str:
    """A token; it is good for 500 questions."""
    with urllib.request.urlopen(f"{SERVICE}/token", timeout=10) as answer:
        return str(json.load(answer)["token"])


@yard.batch("verify_accounts", concurrency=8, max_retries=2, setup=sign_in)
def verify(item: int, ctx: ItemContext) -> dict[str, bool]:
    """Ask whether an account is alive."""
    request = urllib.request.Request(
        f"{SERVICE}/accounts/{item}", headers={"Authorization": f"Bearer {ctx.shared}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return {"alive": bool(json.load(answer)["alive"])}
    except urllib.error.HTTPError as error:
        if error.code == 401:
            raise RefreshNeeded from None
        raise
