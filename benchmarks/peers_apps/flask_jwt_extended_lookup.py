"""Flask-JWT-Extended with automatic user loading and a blocklist in Redis.

As https://flask-jwt-extended.readthedocs.io/en/stable/automatic_user_loading.html (Flask-SQLAlchemy) and
https://flask-jwt-extended.readthedocs.io/en/stable/blocklist_and_token_revoking.html (Redis) have it.
"""

import redis
from flask import Flask
from flask_jwt_extended import JWTManager, create_access_token, jwt_required
from flask_sqlalchemy import SQLAlchemy
from peers_requests import SECRET, SUBJECT, USER, Peer, Stage
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from authcache_middleware.flask import AuthCacheMiddleware, current_user

NAME = "Flask-JWT-Extended, user by SQLAlchemy, blocklist in Redis"
PROTOCOL = "wsgi"


def database(app, stage: Stage, file: str):
    """A table of users with one in it; shared with the other Flask peer."""
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{stage.directory / file}"

    class Base(DeclarativeBase):
        pass

    db = SQLAlchemy(app, model_class=Base)

    class User(db.Model):
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]
        email: Mapped[str]
        status: Mapped[str]
        role: Mapped[str]
        plan: Mapped[str]
        created_at: Mapped[str]
        last_activity_at: Mapped[str]

    with app.app_context():
        db.create_all()
        db.session.add(User(**USER))
        db.session.commit()
    return db, User


def text(body: str):
    return body, {"Content-Type": "text/plain; charset=utf-8"}


def plain() -> Flask:
    app = Flask(__name__)

    @app.get("/x")
    def x():
        return text("ok")

    return app


def with_ours(auth) -> Flask:
    app = Flask(__name__)
    AuthCacheMiddleware.init_app(app, auth)

    @app.get("/x")
    def x():
        current_user()
        return text("ok")

    return app


def make(stage: Stage) -> Peer:
    app = Flask(__name__)
    app.config["JWT_SECRET_KEY"] = SECRET
    jwt = JWTManager(app)
    _, user_type = database(app, stage, "extended.db")
    blocklist = redis.Redis.from_url(stage.url, decode_responses=True)

    @jwt.user_lookup_loader
    def user_lookup_callback(_jwt_header, jwt_data):
        return user_type.query.filter_by(id=int(jwt_data["sub"])).one_or_none()

    @jwt.token_in_blocklist_loader
    def check_if_token_is_revoked(_jwt_header, jwt_payload):
        return blocklist.get(f"blocked:{jwt_payload['jti']}") is not None

    @app.get("/x")
    @jwt_required()
    def x():
        return text("ok")

    with app.app_context():
        token = create_access_token(identity=SUBJECT)
    return Peer(plain(), app, with_ours(stage.auth), token)
