"""One establishment for all tests of the command line: making it takes seconds."""

from collections.abc import Iterator

import pytest

from .processes import House


@pytest.fixture(scope="package")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("house"))
    try:
        house.found()
        house.enrol(
            "claire", "Claire Le Goff", "--profession", "infirmière", "--rpps", "10100482156"
        )
        house.enrol("karim", "Karim Benali", "--profession", "aide-soignant")
        house.enrol("dui", "Dossier usager", "--bot")
        yield house
    finally:
        house.close()
