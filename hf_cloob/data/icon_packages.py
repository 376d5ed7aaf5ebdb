# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The npm packages that carry the collections of icons, pinned."""

from .npm_packages import NpmPackage

# Collection -> its package, in the order of the corpus.
ICON_COLLECTIONS: dict[str, NpmPackage] = {
    "material-symbols": NpmPackage(
        "@iconify-json/material-symbols",
        "1.2.98",
        "ycgn080/EGstyYcJFu+HN0TYI+ts/KFPb+An0dzpwZit4M/BoFO9U54BwBmrS2Qo/3g9NYV4Y/g1BT425tNgEw==",
        "Apache-2.0",
    ),
    "fluent": NpmPackage(
        "@iconify-json/fluent",
        "1.2.60",
        "+Tc4TcygQpzm2QNQ3v1/p5V+3OWczkJzKMqUw01pzGiIYLD85uhWPY4GaERkU0+J9J9ZqGQEWKSOk/qPL2ofsw==",
        "MIT",
    ),
    "ph": NpmPackage(
        "@iconify-json/ph",
        "1.2.2",
        "PgkEZNtqa8hBGjHXQa4pMwZa93hmfu8FUSjs/nv4oUU6yLsgv+gh9nu28Kqi8Fz9CCVu4hj1MZs9/60J57IzFw==",
        "MIT",
    ),
    "solar": NpmPackage(
        "@iconify-json/solar",
        "1.2.13",
        "/ZWb6xRib6pzxD/qTkKWYhuzSU2yu0bY+EN0spgtz1NM3d5f4eYueQZpL3PfCdsg5uVfm4Ldtt3cAyQL+YI8/Q==",
        "CC-BY-4.0",
    ),
    "mdi": NpmPackage(
        "@iconify-json/mdi",
        "1.2.3",
        "O3cLwbDOK7NNDf2ihaQOH5F9JglnulNDFV7WprU2dSoZu3h3cWH//h74uQAB87brHmvFVxIOkuBX2sZSzYhScg==",
        "Apache-2.0",
    ),
    "tabler": NpmPackage(
        "@iconify-json/tabler",
        "1.2.41",
        "GHg+H/cnr0anaCoV383JONiOMxZQOdojWYNLgL3x0fRE07YW7c+AHiYmIhXet//oq26T830qitdP7l43ojiCXw==",
        "MIT",
    ),
    "game-icons": NpmPackage(
        "@iconify-json/game-icons",
        "1.2.4",
        "/HDDZxowXgDJcOEwPspUCq5RuDdl25OyZKdtxqqiPJQNTrWIym7r4StLzIVs77DyNzOWWhH5wDqwYR3WHeDfkg==",
        "CC-BY-3.0",
    ),
    "icon-park": NpmPackage(
        "@iconify-json/icon-park",
        "1.2.4",
        "S8fVl49LG/M9hvwb7ruFGInK21AHMv3IJehOJRJgXPLE39OOCP3wbfTWjro/XzsjxRwdvX/lYdGetFOZI0TaJQ==",
        "Apache-2.0",
    ),
    "carbon": NpmPackage(
        "@iconify-json/carbon",
        "1.2.29",
        "whk3BOU2jXFtweigCrrrYXT7NzWXGUT1q268vEnySzhfdnwZhQhVlFjhkgZH86JRRx21/CziTmzpAJMe5V2yKQ==",
        "Apache-2.0",
    ),
    "healthicons": NpmPackage(
        "@iconify-json/healthicons",
        "1.2.13",
        "1c6nzjXoYBHwFqckX4Jb0PIReOzm3FZ4hWHNz/YYw1yL7QRBTeolh+S4kWpjWVa8hn9oJjgdFv0fyd8ERcRiEA==",
        "MIT",
    ),
    "lucide": NpmPackage(
        "@iconify-json/lucide",
        "1.2.137",
        "uKz1+tFbv1RFX/mJQNksdnyKJijNfRGSNnxfiyKtr+dLNfA3ERph+IgpXClKGOlV/5GsZwLv2jgJXQ/bjF/JAg==",
        "ISC",
    ),
    "streamline-emojis": NpmPackage(
        "@iconify-json/streamline-emojis",
        "1.2.4",
        "iNr9T9XuZVTyQPJO8ZlLxBzPkpi7qMl+z1l0C31vpEMqhPMelth3n7CeWQYtixdetDPdI81yeG4ROqjWpYJE6A==",
        "CC-BY-4.0",
    ),
    "streamline-plump-color": NpmPackage(
        "@iconify-json/streamline-plump-color",
        "1.2.2",
        "nMLbsfwKt/IJCUDpndY7sW5aZsFUOhQGS2Jdeap+CAfbQMDIzsyEHqe8m3u65wM23q1jBlWoblE7oUXukcvTvw==",
        "CC-BY-4.0",
    ),
    "flat-color-icons": NpmPackage(
        "@iconify-json/flat-color-icons",
        "1.2.3",
        "KcmJ7CY0TKFv5GuBjiS4/v++jEcNXna1jfY+yq014tnw/MN/jMI2oYpoMHGuIpYtUqDu7eove+WySnOYO8nS3w==",
        "MIT",
    ),
    "maki": NpmPackage(
        "@iconify-json/maki",
        "1.2.5",
        "ZSeyytU+a720d/mX+XXQicmKGgFTFK4yDvhlK9NUnWjc8jChujwb8bJLfhhp65BYDyq/1lIbeAimQPuVwMyxAg==",
        "CC0-1.0",
    ),
}
