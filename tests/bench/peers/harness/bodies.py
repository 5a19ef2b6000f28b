"""JSON bodies as `delayq bench` sends them, byte for byte: services/delayq/src/bench/load/body.rs and sequence.rs."""

_MASK = 0xFFFF_FFFF_FFFF_FFFF
BODY_BYTES = 1024


class Sequence:
    """xorshift64*, <https://en.wikipedia.org/wiki/Xorshift#xorshift*>: the same numbers in each run."""

    def __init__(self):
        self._state = 0x9E37_79B9_7F4A_7C15

    def next(self):
        """The next number, of 48 bits."""
        state = self._state
        state ^= state >> 12
        state ^= (state << 25) & _MASK
        state ^= state >> 27
        self._state = state
        return (state * 0x2545_F491_4F6C_DD1D & _MASK) >> 16


def body(n, size_bytes, random):
    """Record `n`'s value of about `size_bytes` bytes. Four shapes take turns."""
    return _SHAPES[n % len(_SHAPES)](n, size_bytes, random.next)


def write_bodies(path, count, size_bytes=BODY_BYTES):
    """Writes `count` bodies, one a line."""
    random = Sequence()
    with open(path, "w", encoding="ascii") as file:
        for n in range(count):
            file.write(body(n, size_bytes, random) + "\n")


def _order(n, size_bytes, number):
    """A CloudEvent about an order."""
    event_id, customer = number(), number() % 100_000
    text = (
        f'{{"specversion":"1.0","type":"com.example.order.payment-timeout","source":"/shops/{customer % 40}",'
        f'"id":"{event_id:012x}","time":"2026-11-{number() % 30 + 1:02}T{number() % 24:02}:{number() % 60:02}:'
        f'{number() % 60:02}Z","datacontenttype":"application/json","data":{{"order":"ord-{n:010}",'
        f'"customer":{customer},"items":['
    )
    while len(text) + 110 < size_bytes:
        sku, cents = number(), number() % 100_000
        quantity = number() % 9 + 1
        text += f'{{"sku":"{sku:012x}","quantity":{quantity},"price":{{"cents":{cents},"currency":"EUR"}}}},'
    return text + 'null],"state":"awaiting-payment"}}'


def _payment(n, size_bytes, number):
    """A payment as in Stripe's webhooks."""
    event_id, amount = number(), number() % 1_000_000
    text = (
        f'{{"id":"evt_{event_id:012x}{n:08x}","object":"event","api_version":"2026-10-01",'
        f'"created":{1_795_600_000 + number() % 1_000_000},"livemode":true,"type":"payment_intent.processing",'
        f'"data":{{"object":{{"id":"pi_{number():012x}","object":"payment_intent","amount":{amount},'
        f'"amount_received":0,"currency":"eur","capture_method":"automatic","customer":"cus_{number():012x}",'
        f'"status":"processing","payment_method_types":["card"],"charges":['
    )
    while len(text) + 180 < size_bytes:
        charge, digits = number(), number() % 10_000
        text += (
            f'{{"id":"ch_{charge:012x}","amount":{number() % 1_000_000},"card":{{"brand":"visa",'
            f'"last4":"{digits:04}","exp_year":{2027 + digits % 6}}},"outcome":{{"risk_score":{charge % 100}}}}},'
        )
    return text + 'null],"metadata":{}}},"pending_webhooks":1}'


def _repository(n, size_bytes, number):
    """A push as in GitHub's webhooks."""

    def sha():
        return f"{number():012x}{number():012x}{number():012x}{number() & 0xFFFF:04x}"

    text = (
        f'{{"ref":"refs/heads/main","before":"{sha()}","after":"{sha()}",'
        f'"repository":{{"id":{n},"name":"service-{n % 500}","private":true}},"commits":['
    )
    while len(text) + 260 < size_bytes:
        text += (
            f'{{"id":"{sha()}","distinct":true,"message":"Fix {n % 7919} of {n % 104_729}",'
            f'"author":{{"name":"Dev {n % 300}","email":"dev{n % 300}@example.com"}},'
            f'"added":[],"modified":["src/module_{n % 97}/mod.rs"]}},'
        )
    return text + 'null],"forced":false}'


def _tracking(n, size_bytes, number):
    """A track call as in Segment's spec."""
    text = (
        f'{{"type":"track","event":"Reminder Scheduled","messageId":"{number():012x}-{n}",'
        f'"userId":"{number() % 1_000_000}","anonymousId":"{number():012x}",'
        f'"context":{{"ip":"10.{number() % 256}.{number() % 256}.{number() % 256}",'
        f'"library":{{"name":"analytics.js","version":"2.11.1"}},"locale":"de-DE"}},"properties":{{'
    )
    field = 0
    while len(text) + 90 < size_bytes:
        text += f'"metric_{field}":{{"value":{number() % 10_000}.{number() % 1000:03},"unit":"ms"}},'
        field += 1
    return text + '"plan":"pro"},"timestamp":"2026-11-25T00:00:00Z"}'


_SHAPES = (_order, _payment, _repository, _tracking)
