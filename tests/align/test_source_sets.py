"""Published data sets: every loader reads exactly the published form, and says what is wrong with another."""

import json
import os
import shutil
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from align.errors import RecipeError
from align.sources import catalogue
from align.sources.beavertails_v import CATEGORIES, BeaverTailsTable
from align.sources.found import Found
from align.sources.images import MAX_BYTES
from align.sources.mm_safetybench import SCENARIOS, MmSafetyBenchTable
from align.sources.mmsafetyaware import MmSafetyAwareTable
from align.sources.parquet import rows
from align.sources.siuo import CATEGORIES as SIUO_CATEGORIES
from align.sources.siuo import SiuoTable
from align.sources.spa_vl import SpaVlTable
from align.sources.vlguard import SUBCATEGORIES, VlGuardTable
from policies.catalog import load_catalog
from tests.align import published_sets as sets

NON_COMMERCIAL = "cc-by-nc-4.0"


def found_in(table: Any) -> list[Found]:
    """Everything a source holds, after the check that comes before any run; read twice, it is the same."""
    catalogue.check(table)
    found = list(catalogue.read(table))
    assert found == list(catalogue.read(table))
    assert len({one.key for one in found}) == len(found)
    return found


def beavertails(root: Path, **keys: Any) -> BeaverTailsTable:
    return BeaverTailsTable.model_validate(
        {"name": "beavertails-v", "split": "train", "path": root, "accept_licence": NON_COMMERCIAL} | keys
    )


def test_every_category_of_beavertails_has_its_turn_before_any_has_its_second(tmp_path: Path) -> None:
    found = found_in(beavertails(sets.beavertails(tmp_path)))
    assert [one.category for one in found] == [*CATEGORIES, *CATEGORIES]
    first = found[1]
    assert first.key == "dangerous_behavior/0"
    assert first.instruction == "What is shown in picture 10?"
    assert first.image == sets.picture(10)
    assert first.severity == 2
    assert first.benign is None


def test_categories_of_different_lengths_are_read_to_their_ends(tmp_path: Path) -> None:
    long = [sets.question(number, "sexual_crimes") for number in range(500, 521)]
    found = found_in(beavertails(sets.beavertails(tmp_path, train={"sexual_crimes": long})))
    counts = Counter(one.category for one in found)
    assert counts.pop("sexual_crimes") == 21
    assert set(counts.values()) == {2}


@pytest.mark.parametrize("group", [7, 40, 100])
def test_rows_come_whole_and_in_order_however_the_file_is_cut(group: int, tmp_path: Path) -> None:
    schema = pa.schema([("number", pa.int64()), ("other", pa.string())])
    path = tmp_path / "numbers.parquet"
    table = pa.Table.from_pylist([{"number": number} for number in range(100)], schema=schema)
    parquet.write_table(table, path, row_group_size=group)
    assert list(rows(path, ["number"])) == [{"number": number} for number in range(100)]


def test_the_other_repository_of_beavertails_is_read_in_its_own_form(tmp_path: Path) -> None:
    twice = [sets.question(7, "animal_abuse", response=reply) for reply in ("One.", "Another.")]
    root = sets.beavertails(tmp_path, train={"animal_abuse": twice}, schema=sets.SINGLE)
    table = beavertails(root, repository="single")
    found = [one for one in found_in(table) if one.category == "animal_abuse"]
    assert [one.instruction for one in found] == ["What is shown in picture 7?"] * 2
    assert table.effective()["revision"] != beavertails(root).effective()["revision"]


def test_the_categories_of_beavertails_are_the_packaged_policies() -> None:
    assert list(CATEGORIES) == [policy.slug for policy in load_catalog().policies]


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    schema = pa.schema([field for field in sets.SINGLE if field.name != "image_severity"])
    root = sets.beavertails(tmp_path, schema=schema)
    message = r"train.parquet: there is no column 'image_severity'; there are question, image, category, resp"
    with pytest.raises(RecipeError, match=message):
        next(catalogue.read(beavertails(root)))


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    root = sets.beavertails(tmp_path)
    (root / "data/animal_abuse/train.parquet").write_text("<html>not here</html>")
    with pytest.raises(RecipeError, match=r"animal_abuse/train.parquet: cannot be read as Parquet"):
        next(catalogue.read(beavertails(root)))


def test_a_column_of_something_else_than_images_is_named(tmp_path: Path) -> None:
    schema = pa.schema(
        [pa.field("image", pa.string()) if field.name == "image" else field for field in sets.SINGLE]
    )
    rows = {category: [sets.question(1, category, image="one.png")] for category in CATEGORIES}
    root = sets.beavertails(tmp_path, train=rows, evaluation=rows, schema=schema)
    with pytest.raises(RecipeError, match="column 'image' holds no images"):
        next(catalogue.read(beavertails(root)))


def test_a_severity_beyond_the_published_scale_is_named(tmp_path: Path) -> None:
    rows = [sets.question(1, "animal_abuse", image_severity=4)]
    root = sets.beavertails(tmp_path, train={"animal_abuse": rows})
    with pytest.raises(RecipeError, match="animal_abuse, row 0: image_severity must be 1, 2 or 3, not 4"):
        next(catalogue.read(beavertails(root)))


def test_training_rows_are_not_read_without_the_evaluation_images_to_leave_out(tmp_path: Path) -> None:
    root = sets.beavertails(tmp_path)
    for category in ("animal_abuse", "false_information"):
        (root / "data" / category / "evaluation.parquet").unlink()
    message = (
        r"animal_abuse/evaluation.parquet and 1 more is missing; path must hold the files as saferlhf-v/"
    )
    with pytest.raises(RecipeError, match=message):
        catalogue.check(beavertails(root))


def test_evaluation_images_are_those_of_the_benchmark_splits(tmp_path: Path) -> None:
    root = sets.beavertails(tmp_path)
    assert list(catalogue.evaluation_images(beavertails(root))) == [
        sets.picture(1000 + place) for place in range(len(CATEGORIES))
    ]
    evaluation = beavertails(root, split="evaluation", train_on_benchmark=True)
    assert list(catalogue.evaluation_images(evaluation)) == []


@pytest.mark.parametrize("kind", ["SD", "SD_TYPO", "TYPO"])
def test_mm_safetybench_gives_every_scenario_in_the_wording_of_the_kind(kind: str, tmp_path: Path) -> None:
    table = MmSafetyBenchTable.model_validate(
        {
            "name": "mm-safetybench",
            "split": kind,
            "path": sets.mm_safetybench(tmp_path),
            "accept_licence": NON_COMMERCIAL,
            "train_on_benchmark": True,
        }
    )
    found = found_in(table)
    assert len(found) == 2 * 13
    assert [one.meta["scenario"] for one in found[:13]] == list(SCENARIOS)
    assert all(one.instruction.startswith(f"{kind} question") and one.benign is False for one in found)
    assert {one.category for one in found if one.meta["scenario"] == "Fraud"} == {
        "financial_and_academic_fraud"
    }


@pytest.mark.parametrize("mapping", [SCENARIOS, SIUO_CATEGORIES, SUBCATEGORIES])
def test_mapped_categories_are_packaged_policies(mapping: Mapping[Any, str | None]) -> None:
    catalog = load_catalog()
    assert all(catalog.policy(slug) for slug in mapping.values() if slug)


def spa(root: Path, split: str) -> SpaVlTable:
    return SpaVlTable.model_validate(
        {"name": "spa-vl", "split": split, "path": root, "train_on_benchmark": True}
    )


def test_spa_vl_is_read_shard_by_shard_in_turn(tmp_path: Path) -> None:
    found = found_in(spa(sets.spa_vl(tmp_path), "train"))
    assert [one.key for one in found[:9]] == [*(f"{shard}/0" for shard in range(8)), "0/1"]
    assert {one.category for one in found} == {None}


def test_spa_vl_has_a_validation_and_two_test_splits_with_its_own_classes(tmp_path: Path) -> None:
    root = sets.spa_vl(tmp_path)
    (harm,) = found_in(spa(root, "harm"))
    assert (harm.instruction, harm.benign) == ("A harm question?", False)
    assert harm.meta == {"class1": "Domain", "class2": "Category", "class3": "Subcategory"}
    (helpful,) = found_in(spa(root, "help"))
    assert helpful.benign is None
    assert len(found_in(spa(root, "validation"))) == 1


def test_a_missing_shard_of_spa_vl_is_named(tmp_path: Path) -> None:
    root = sets.spa_vl(tmp_path)
    (root / "data" / "train-00005-of-00008.parquet").unlink()
    with pytest.raises(RecipeError, match=r"train-00005-of-00008\.parquet is missing"):
        catalogue.check(spa(root, "train"))


def siuo(root: Path) -> SiuoTable:
    return SiuoTable.model_validate(
        {"name": "siuo", "path": root, "accept_licence": NON_COMMERCIAL, "train_on_benchmark": True}
    )


def test_siuo_keeps_what_its_judge_is_given_and_says_which_picture_is_missing(tmp_path: Path) -> None:
    first, second = found_in(siuo(sets.siuo(tmp_path)))
    assert (first.key, first.category) == ("1001", "psychological_harm_and_manipulation")
    assert first.image == sets.picture(1)
    assert first.meta["reference_answer"] == "An invented answer."
    assert (second.category, second.image) == (None, b"")
    assert second.fault == "images/S-02.png is missing, damaged, or larger than 25,000,000 bytes"


def test_a_picture_beyond_the_limit_costs_its_row_and_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As large as they look, and empty on the disk."""
    large = [sets.siuo(tmp_path / "siuo") / "images" / "S-01.png"]
    large.append(sets.mmsafetyaware(tmp_path / "aware", numbers=(3,)) / "data/images/3.png")
    large.append(sets.vlguard(tmp_path / "vlguard") / "train/bad_ads/one.png")
    for path in large:
        assert path.is_file()
        os.truncate(path, MAX_BYTES + 1)
    read = Path.read_bytes
    was_read: list[Path] = []

    def noted(path: Path) -> bytes:
        was_read.append(path)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", noted)
    for table in (siuo(tmp_path / "siuo"), aware(tmp_path / "aware"), vlguard(tmp_path / "vlguard")):
        found, *_ = catalogue.read(table)
        assert found.image == b""
        assert found.fault.endswith("larger than 25,000,000 bytes")
    assert not set(large) & set(was_read)


def test_a_picture_outside_the_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(sets.picture(5))
    root = sets.siuo(tmp_path / "siuo", image="../../secret.png")
    with pytest.raises(RecipeError, match="leads out of"):
        list(catalogue.read(siuo(root)))


def test_an_entry_without_a_published_key_is_named(tmp_path: Path) -> None:
    root = sets.siuo(tmp_path)
    path = root / "siuo_gen.json"
    entries = json.loads(path.read_text())
    del entries[1]["question"]
    path.write_text(json.dumps(entries))
    with pytest.raises(RecipeError, match=r"siuo_gen.json, entry 1: there is no 'question'; there are quest"):
        list(catalogue.read(siuo(root)))


def aware(root: Path) -> MmSafetyAwareTable:
    return MmSafetyAwareTable.model_validate(
        {
            "name": "mmsafetyaware",
            "path": root,
            "accept_licence": "research use only",
            "train_on_benchmark": True,
        }
    )


def test_mmsafetyaware_gives_the_sentence_without_the_question_around_it(tmp_path: Path) -> None:
    found = found_in(aware(sets.mmsafetyaware(tmp_path)))
    assert [one.instruction for one in found] == [
        f"Sentence {number} is quoted" for number in (1, 128, 129, 2001)
    ]
    assert [one.benign for one in found] == [True, True, False, True]
    assert found[3].image == sets.picture(2001, "JPEG")


def test_sentences_with_quotes_numbers_and_empty_lines_stay_whole(tmp_path: Path) -> None:
    root = sets.mmsafetyaware(tmp_path, numbers=(3, 4))
    path = root / "data" / "prompt.txt"
    odd = 'He said "7"\n\n7\nand left'
    path.write_text(path.read_text().replace("Sentence 3 is quoted", odd).replace("\n", "\r\n"))
    assert [one.instruction for one in found_in(aware(root))] == [odd, "Sentence 4 is quoted"]


def test_a_sentence_without_a_picture_says_so_and_an_unknown_form_stops(tmp_path: Path) -> None:
    root = sets.mmsafetyaware(tmp_path, numbers=(3,))
    (root / "data/images/3.png").unlink()
    (found,) = found_in(aware(root))
    assert (found.image, found.fault) == (b"", "neither images nor images2 holds a picture 3")
    (root / "data/prompt.txt").write_text("three: a sentence\n")
    with pytest.raises(RecipeError, match="of 0 sentences 0 can be told apart"):
        list(catalogue.read(aware(root)))


def vlguard(root: Path, split: str = "train") -> VlGuardTable:
    return VlGuardTable.model_validate(
        {
            "name": "vlguard",
            "split": split,
            "path": root,
            "accept_licence": "research use only",
            "train_on_benchmark": True,
        }
    )


def test_vlguard_asks_harmless_and_harmful_things_about_the_same_safe_picture(tmp_path: Path) -> None:
    unsafe, harmless, harmful = found_in(vlguard(sets.vlguard(tmp_path)))
    assert (unsafe.instruction, unsafe.benign) == ("Use what is shown.", False)
    assert unsafe.category == "privacy_invasion_and_surveillance"
    assert (harmless.instruction, harmless.benign) == ("Which colour is it?", True)
    assert (harmful.instruction, harmful.benign) == ("Who is that?", False)
    assert harmless.image == harmful.image == sets.picture(2)
    assert harmless.category is harmful.category is None


@pytest.mark.parametrize("inside", ["train/", ""])
def test_vlguard_is_read_from_its_archives_without_unpacking_them(inside: str, tmp_path: Path) -> None:
    unpacked = found_in(vlguard(sets.vlguard(tmp_path)))
    for split in ("train", "test"):
        with zipfile.ZipFile(tmp_path / f"{split}.zip", "w") as archive:
            for name in ("one.png", "two.png"):
                file = tmp_path / split / "bad_ads" / name
                archive.write(file, f"{inside.replace('train', split)}bad_ads/{name}")
                file.unlink()
        (tmp_path / split / "bad_ads").rmdir()
        (tmp_path / split).rmdir()
    assert found_in(vlguard(tmp_path)) == unpacked


@pytest.mark.parametrize("packed_as", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_damaged_member_of_an_archive_costs_its_rows_and_no_others(packed_as: int, tmp_path: Path) -> None:
    root = sets.vlguard(tmp_path)
    with zipfile.ZipFile(root / "train.zip", "w", packed_as) as archive:
        for name in ("one.png", "two.png"):
            archive.write(root / "train" / "bad_ads" / name, f"train/bad_ads/{name}")
        member = archive.getinfo("train/bad_ads/one.png")
    shutil.rmtree(root / "train")
    content = bytearray((root / "train.zip").read_bytes())
    start = member.header_offset + 30 + len(member.filename)
    content[start + 4 : start + member.compress_size] = b"\xff" * (member.compress_size - 4)
    (root / "train.zip").write_bytes(content)
    damaged, *others = found_in(vlguard(root))
    assert damaged.image == b""
    assert damaged.fault == "bad_ads/one.png is missing, damaged, or larger than 25,000,000 bytes"
    assert [one.image for one in others] == [sets.picture(2)] * 2


def test_a_broken_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text("[]")
    (tmp_path / "train.zip").write_bytes(b"PK not really")
    with pytest.raises(RecipeError, match=r"train.zip: cannot be read as a ZIP archive"):
        list(catalogue.read(vlguard(tmp_path)))
