"""A scripted module of 3D Slicer: inner ears of the volume that is shown, by otovox.

It installs otovox into Slicer's own Python if the user agrees, calls its Python interface, and
loads mask, landmarks and surfaces into the scene. Add this folder in Slicer under Edit, Application
Settings, Modules, Additional module paths. Needs Slicer 5.8 or newer (Python 3.12).
"""

import importlib.util
import logging
import tempfile
from pathlib import Path

import ctk
import qt
import SimpleITK as sitk
import sitkUtils
import slicer
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

#: What pip installs: PyTorch's CPU build is enough.
REQUIREMENT = "otovox"
RESEARCH = "Research use only, not a medical device. Look at every result before you rely on it."


class Otovox(ScriptedLoadableModule):
    """What Slicer lists."""

    def __init__(self, parent):
        super().__init__(parent)
        parent.title = "otovox"
        parent.categories = ["Segmentation"]
        parent.contributors = ["The authors of otovox"]
        parent.helpText = f"Inner ears in CT: labyrinth, landmarks, measurements. {RESEARCH}"
        parent.acknowledgementText = "Method: Stebani et al. 2023, 10.1038/s41598-023-45466-9."


class OtovoxWidget(ScriptedLoadableModuleWidget):
    """Volume, options, a button, and a table of measurements."""

    def setup(self):
        super().setup()
        box = ctk.ctkCollapsibleButton()
        box.text = "Inner ears"
        self.layout.addWidget(box)
        form = qt.QFormLayout(box)
        self.volume = slicer.qMRMLNodeComboBox()
        self.volume.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        self.volume.addEnabled = self.volume.removeEnabled = False
        self.volume.setMRMLScene(slicer.mrmlScene)
        form.addRow("CT volume:", self.volume)
        self.looks = qt.QComboBox()
        self.looks.addItems(["fast", "none", "paper", "full"])
        form.addRow("Looks per ear:", self.looks)
        self.button = qt.QPushButton("Find and measure")
        self.button.connect("clicked()", self.on_button)
        form.addRow(self.button)
        note = qt.QLabel(RESEARCH)
        note.wordWrap = True
        form.addRow(note)
        self.layout.addStretch(1)

    def on_button(self):
        """Analyse the chosen volume; problems are shown in one sentence."""
        node = self.volume.currentNode()
        if node is None:
            slicer.util.warningDisplay("Choose a CT volume first.")
            return
        logic = OtovoxLogic()
        if not logic.is_installed() and not self._agreed(logic):
            return
        with slicer.util.tryWithErrorDisplay("otovox could not analyse this.", waitCursor=True):
            sentences = logic.analyze(node, self.looks.currentText)
            if sentences:
                slicer.util.infoDisplay("\n".join(sentences), windowTitle="otovox: please review")

    def _agreed(self, logic):
        question = (
            f"{REQUIREMENT} is not installed in Slicer's Python. Download and install it now?"
        )
        if not slicer.util.confirmOkCancelDisplay(question):
            return False
        with slicer.util.tryWithErrorDisplay("otovox could not be installed.", waitCursor=True):
            logic.install()
        return logic.is_installed()


class OtovoxLogic(ScriptedLoadableModuleLogic):
    """The work, without a window."""

    def is_installed(self):
        return importlib.util.find_spec("otovox") is not None

    def install(self):
        slicer.util.pip_install(REQUIREMENT)

    def analyze(self, node, looks="fast"):
        """Find and measure the inner ears of a volume, and load what was found into the scene.

        Args:
            node: vtkMRMLScalarVolumeNode with a CT.
            looks: test-time augmentation: none, fast, paper or full.

        Returns:
            The warnings of the result, sentences.
        """
        import otovox

        image = sitk.Cast(sitkUtils.PullVolumeFromSlicer(node), sitk.sitkFloat32)
        result = otovox.analyze(image, tta=looks)
        folder = Path(tempfile.mkdtemp(prefix="otovox-", dir=slicer.app.temporaryPath)) / "result"
        written = result.save(folder)
        self.show(folder, written.files, node)
        logging.info("otovox: results are in %s", folder)
        return list(result.warnings)

    def show(self, folder, files, node):
        """Load mask, landmarks, centrelines and the table of a result folder."""
        segmentation = slicer.util.loadSegmentation(str(folder / files["segments"]))
        segmentation.SetName(f"{node.GetName()} labyrinths")
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(node)
        segmentation.CreateClosedSurfaceRepresentation()
        slicer.util.loadMarkups(str(folder / files["landmarks"]))
        if "lines" in files:
            slicer.util.loadMarkups(str(folder / files["lines"]))
        slicer.util.loadTable(str(folder / files["measurements"]))


class OtovoxTest(ScriptedLoadableModuleTest):
    """Slicer's self-test: an analysis of its sample head, which holds no labelled truth."""

    def runTest(self):
        import SampleData

        slicer.mrmlScene.Clear()
        logic = OtovoxLogic()
        if not logic.is_installed():
            self.delayDisplay("otovox is not installed: nothing was tested")
            return
        node = SampleData.downloadSample("CTACardio")
        logic.analyze(node, "none")
        self.assertTrue(slicer.util.getNodesByClass("vtkMRMLSegmentationNode"))
        self.delayDisplay("An analysis ran, and its segmentation was loaded.")
