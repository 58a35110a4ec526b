from snnlab.session.session import Session as Session
