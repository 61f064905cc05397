"""Miniature data sets that lie on disk as the official ones do, file for file."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np


def video(path: Path, frames: int = 8) -> Path:
    """A tiny video that OpenCV reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "MJPG" if path.suffix.lower() == ".avi" else "mp4v"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*kind), 24, (16, 16))
    for n in range(frames):
        writer.write(np.full((16, 16, 3), 20 * n, np.uint8))
    writer.release()
    return path


def frames(folder: Path, names: Sequence[str]) -> Path:
    """A folder of pictures, each brighter than the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    for n, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((16, 16, 3), 20 * n, np.uint8))
    return folder


def text(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def kinetics(root: Path) -> Path:
    head = "label,youtube_id,time_start,time_end,split,is_cc"
    text(
        root / "annotations" / "train.csv", head, '"air drumming",_dbcJuKJQNs,40,50,train,0',
        "tai chi,zz0_abcdefg,1,11,train,0", '"bending metal",lost0000000,5,15,train,0',
    )  # fmt: skip
    text(
        root / "annotations" / "val.csv",
        head,
        '"tai chi",a-b_c000000,100,110,val,0',
        "bending metal,bad00000000,x,9,val,0",
    )
    text(root / "annotations" / "test.csv", "youtube_id,time_start,time_end,split", "test0000000,3,13,test")
    video(root / "train" / "air drumming" / "_dbcJuKJQNs_000040_000050.mp4")
    video(root / "train" / "tai_chi" / "zz0_abcdefg_000001_000011.mp4")
    video(root / "val" / "a-b_c000000_000100_000110.mp4")
    video(root / "test" / "test0000000.mp4")
    return root


def ucf101(root: Path) -> Path:
    text(root / "ucfTrainTestlist" / "classInd.txt", "1 ApplyEyeMakeup", "2 Archery", "3 YoYo")
    text(
        root / "ucfTrainTestlist" / "trainlist01.txt", "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1",
        "Archery/v_Archery_g09_c02.avi 2", "Archery/v_Archery_g10_c01.avi 3",
    )  # fmt: skip
    text(root / "ucfTrainTestlist" / "testlist01.txt", "Archery/v_Archery_g01_c01.avi", "YoYo/v_YoYo_g01_c01.avi")
    text(root / "ucfTrainTestlist" / "trainlist02.txt", "YoYo/v_YoYo_g01_c01.avi 3")
    for name in ("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01", "Archery/v_Archery_g09_c02", "Archery/v_Archery_g01_c01"):
        video(root / "UCF-101" / f"{name}.avi")
    video(root / "UCF-101" / "Archery" / "v_Archery_g10_c01.avi")
    (root / "UCF-101" / "YoYo").mkdir()
    (root / "UCF-101" / "YoYo" / "v_YoYo_g01_c01.avi").touch()
    return root


def hmdb51(root: Path) -> Path:
    splits = root / "testTrainMulti_7030_splits"
    text(splits / "brush_hair_test_split1.txt", "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1 ", "odd (1) hair_2.avi 2 ")
    text(splits / "wave_test_split1.txt", "a_wave_f_nm_np1_fr_med_0.avi 0 ", "b_wave.avi 7 ")
    text(splits / "wave_test_split2.txt", "a_wave_f_nm_np1_fr_med_0.avi 2 ")
    video(root / "brush_hair" / "April_09_brush_hair_u_nm_np1_ba_goo_0.avi")
    video(root / "brush_hair" / "odd (1) hair_2.avi")
    video(root / "wave" / "a_wave_f_nm_np1_fr_med_0.avi")
    video(root / "wave" / "b_wave.avi")
    return root


EPIC = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"
    "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
)


def epic_kitchens(root: Path) -> Path:
    notes, heading = root / "annotations", "id,key,instances,category"
    text(notes / "EPIC_100_verb_classes.csv", heading, "0,take,\"['take']\",retrieve", "1,put,\"['put']\",leave")
    text(
        notes / "EPIC_100_noun_classes.csv", heading, "0,tap,\"['tap']\",appliances", "1,spoon,\"['spoon']\",cutlery",
        "2,plate,\"['plate']\",crockery",
    )  # fmt: skip
    text(
        notes / "EPIC_100_train.csv", EPIC,
        "P01_11_0,P01,P01_11,00:00:00.560,00:00:00.00,00:00:00.08,1,5,take plate,take,0,plate,2,"
        "\"['plate', 'cup']\",\"[2, 9]\"",
        "P01_11_1,P01,P01_11,00:00:01.560,00:00:00.05,00:00:00.10,4,6,put spoon,put,1,spoon,1,['spoon'],[1]",
        "P01_109_7,P01,P01_109,00:00:01.560,00:00:00.05,00:00:00.10,1,2,put spoon,put,1,spoon,1,['spoon'],[1]",
    )  # fmt: skip
    text(
        root / "annotations" / "EPIC_100_validation.csv", EPIC,
        "P02_01_0,P02,P02_01,00:00:00.560,00:00:00.00,00:00:00.10,2,3,take tap,take,0,tap,0,['tap'],[0]",
        "P03_01_0,P03,P03_01,00:00:00.560,00:00:00.00,00:00:00.10,2,8,take plate,take,0,plate,2,['plate'],[2]",
        "P03_01_1,P03,P03_01,00:00:00.560,00:00:00.00,00:00:00.10,9,8,take plate,take,0,plate,2,['plate'],[2]",
    )  # fmt: skip
    text(
        root / "annotations" / "EPIC_100_test_timestamps.csv", ",".join(EPIC.split(",")[:8]),
        "P01_11_99,P01,P01_11,00:00:00.560,00:00:00.00,00:00:00.10,2,3",
    )  # fmt: skip
    names = [f"frame_{n:010d}.jpg" for n in range(1, 9)]
    frames(root / "P01" / "rgb_frames" / "P01_11", names)
    frames(root / "P01" / "rgb_frames" / "P01_109", names)
    folder = frames(root / "unpacked", names)
    (root / "P02" / "rgb_frames").mkdir(parents=True)
    with tarfile.open(root / "P02" / "rgb_frames" / "P02_01.tar", "w") as archive:
        for name in reversed(names):
            archive.add(folder / name, f"./{name}")
    video(root / "P03" / "videos" / "P03_01.MP4")
    return root


def egtea(root: Path) -> Path:
    text(root / "action_annotation" / "action_idx.txt", "Open Fridge 1", "Cut Cucumber 2")
    text(root / "action_annotation" / "verb_idx.txt", "Open 1", "Cut 2")
    text(root / "action_annotation" / "noun_idx.txt", "Fridge 1", "Cucumber 2", "Knife 3")
    first, second = "P19-R03-BaconAndEggs-806419-820160-F019321-F019717", "OP01-R02-TurkeySandwich-1-2-F000001-F000009"
    text(root / "action_annotation" / "train_split1.txt", f"{first} 1 1 1", f"{second} 2 2 2 3 ")
    text(root / "action_annotation" / "test_split1.txt", "P20-R01-Pizza-5-6-F000001-F000009 9 1 1")
    video(root / "cropped_clips" / "P19-R03-BaconAndEggs" / f"{first}.mp4")
    video(root / "cropped_clips" / "OP01-R02-TurkeySandwich" / f"{second}.mp4")
    return root
