"""Django REST framework with simplejwt and Django's own users.

As https://django-rest-framework-simplejwt.readthedocs.io/en/latest/getting_started.html has it, ``JWTAuthentication``
is the default authentication class; ``IsAuthenticated`` the default permission, as
https://www.django-rest-framework.org/api-guide/permissions/ has it.
"""

import django
from django.conf import settings
from peers_requests import SECRET, Peer, Stage

from authcache_middleware.wsgi import AuthCacheMiddleware

NAME = "DRF simplejwt, Django's user"
PROTOCOL = "wsgi"
urlpatterns = []  # this module is the ROOT_URLCONF


def make(stage: Stage) -> Peer:
    settings.configure(
        SECRET_KEY=SECRET,
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        USE_TZ=True,
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "rest_framework"],
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(stage.directory / "drf.db")}},
        REST_FRAMEWORK={
            "DEFAULT_AUTHENTICATION_CLASSES": ("rest_framework_simplejwt.authentication.JWTAuthentication",),
            "DEFAULT_PERMISSION_CLASSES": ("rest_framework.permissions.IsAuthenticated",),
        },
    )
    django.setup()

    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path
    from rest_framework.decorators import api_view, authentication_classes, permission_classes
    from rest_framework_simplejwt.tokens import AccessToken

    call_command("migrate", verbosity=0)
    user = get_user_model().objects.create_user("ada", "ada@example.com")

    @api_view(["GET"])
    def protected(request):
        return HttpResponse("ok", content_type="text/plain")

    @api_view(["GET"])
    @authentication_classes([])
    @permission_classes([])
    def plain(request):
        return HttpResponse("ok", content_type="text/plain")

    urlpatterns[:] = [path("x", protected), path("plain", plain)]
    app = get_wsgi_application()

    def without(environ, start_response):
        return app({**environ, "PATH_INFO": "/plain"}, start_response)

    return Peer(without, app, AuthCacheMiddleware(without, auth=stage.auth), str(AccessToken.for_user(user)))
