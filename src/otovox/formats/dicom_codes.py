"""Codes of what DICOM answers speak of: SNOMED CT, FMA and, where there is none, our own.

Sources: DICOM PS3.16 (CID 244, 7150, 7151, 7162), as in pydicom; codes of structures in `anatomy`.
"""

from hashlib import sha256

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from otovox.anatomy import LABYRINTH, Side, Structure

#: Our own codes; DICOM keeps names that begin with 99 for private ones (PS3.16, section 8.2).
PRIVATE = "99OTOVOX"

#: DICOM's CID 244.
LATERALITY = {
    Side.RIGHT: Code("24028007", "SCT", "Right"),
    Side.LEFT: Code("7771000", "SCT", "Left"),
}
#: The category of CID 7150 for parts of the body.
ANATOMICAL_STRUCTURE = codes.SCT.AnatomicalStructure
INNER_EAR = Code("22945000", "SCT", "Inner ear")
TEMPORAL_BONE = Code("60911003", "SCT", "Temporal bone")
ARTIFICIAL_INTELLIGENCE = codes.DCM.ArtificialIntelligence

#: Units after UCUM.
UNITS = {
    "mm": Code("mm", "UCUM", "mm"),
    "mm3": Code("mm3", "UCUM", "mm3"),
    "deg": Code("deg", "UCUM", "degree"),
    "Hz": Code("Hz", "UCUM", "Hz"),
    "": Code("1", "UCUM", "no units"),
}


def code_of(structure: Structure) -> Code:
    """A structure's SNOMED CT code, or that of the FMA where there is none."""
    if structure.sct:
        return Code(structure.sct, "SCT", structure.title)
    return Code(structure.fma, "FMA", structure.title)


def labyrinth_code() -> Code:
    """The bony labyrinth of either side."""
    return Code(str(LABYRINTH[Side.RIGHT].sct), "SCT", "Bony labyrinth")


def quantity_code(key: str) -> Code:
    """A measurement by its key: SNOMED CT for a volume, else our own code.

    A code has at most 16 characters (VR SH), for readers stumble over longer ones: longer keys are
    cut, and a checksum keeps them apart. The meaning has the key in full.
    """
    if key == "labyrinth_volume":
        return codes.SCT.Volume
    value = key if len(key) <= 16 else f"{key[:9]}-{sha256(key.encode()).hexdigest()[:6]}"
    return Code(value, PRIVATE, key.replace("_", " ").capitalize()[:64])
