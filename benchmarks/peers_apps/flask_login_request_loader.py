"""Flask-Login with a request loader that verifies with PyJWT and reads the user through Flask-SQLAlchemy.

As https://flask-login.readthedocs.io/en/latest/#custom-login-using-request-loader has it, for the Authorization header.
"""

import jwt
from flask import Flask
from flask_login import LoginManager, UserMixin, login_required
from peers_requests import AUDIENCE, ISSUER, SECRET, SUBJECT, Peer, Stage, padded_claims

from authcache_middleware.testing import issue_token
from peers_apps import flask_jwt_extended_lookup as shared

NAME = "Flask-Login request loader + PyJWT + SQLAlchemy"
PROTOCOL = "wsgi"


class LoggedIn(UserMixin):
    def __init__(self, row):
        self.row, self.id = row, row.id


def make(stage: Stage) -> Peer:
    app = Flask(__name__)
    app.config["SECRET_KEY"] = SECRET
    login_manager = LoginManager(app)
    db, user_type = shared.database(app, stage, "login.db")

    @login_manager.request_loader
    def load_user_from_request(request):
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        try:
            claims = jwt.decode(token, SECRET, algorithms=["HS256"], audience=AUDIENCE, issuer=ISSUER)
        except jwt.PyJWTError:
            return None
        user = db.session.get(user_type, int(claims["sub"]))
        return None if user is None or user.status != "active" else LoggedIn(user)

    @app.get("/x")
    @login_required
    def x():
        return shared.text("ok")

    token = issue_token(SECRET, subject=SUBJECT, issuer=ISSUER, audience=AUDIENCE, claims=padded_claims())
    return Peer(shared.plain(), app, shared.with_ours(stage.auth), token)
