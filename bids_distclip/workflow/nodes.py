"""The steps as nipype interfaces. They carry file names; the work is in :mod:`bids_distclip.workflow.steps`."""

from __future__ import annotations

from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    Str,
    TraitedSpec,
    traits,
)

from bids_distclip.workflow import steps


class PrepareInput(BaseInterfaceInputSpec):
    """An image to read and make ready."""

    run_file = File(exists=True, mandatory=True)
    job_file = File(exists=True, mandatory=True)


class PrepareOutput(TraitedSpec):
    """Where the prepared image is; empty if it failed."""

    prepared = Str()


class Prepare(SimpleInterface):
    """Read one image and make it ready for a harmonizer."""

    input_spec = PrepareInput
    output_spec = PrepareOutput

    def _run_interface(self, runtime: Any) -> Any:
        self._results['prepared'] = steps.prepare_image(self.inputs.run_file, job_file=self.inputs.job_file)
        return runtime


class PrepareTargetInput(BaseInterfaceInputSpec):
    """A target image to make ready."""

    run_file = File(exists=True, mandatory=True)
    target = Str(mandatory=True)


class PrepareTarget(SimpleInterface):
    """Read a target image and make it ready."""

    input_spec = PrepareTargetInput
    output_spec = PrepareOutput

    def _run_interface(self, runtime: Any) -> Any:
        self._results['prepared'] = steps.prepare_target(self.inputs.run_file, target=self.inputs.target)
        return runtime


class HarmonizeInput(BaseInterfaceInputSpec):
    """All images of one session; ``use_gpu`` is what nipype counts graphics cards by."""

    run_file = File(exists=True, mandatory=True)
    job_files = InputMultiObject(File(exists=True), mandatory=True)
    prepared = InputMultiObject(Str(), mandatory=True)
    targets = InputMultiObject(Str(), desc='prepared target images')
    use_gpu = traits.Bool(False, usedefault=True, nohash=True)


class HarmonizeOutput(TraitedSpec):
    """Where the harmonized arrays are, one per image; empty where one failed."""

    harmonized = OutputMultiObject(Str())


class Harmonize(SimpleInterface):
    """Harmonize the images of one session with one model in memory."""

    input_spec = HarmonizeInput
    output_spec = HarmonizeOutput

    def _run_interface(self, runtime: Any) -> Any:
        self._results['harmonized'] = steps.harmonize_session(
            self.inputs.run_file, job_files=self.inputs.job_files, prepared=self.inputs.prepared
        )
        return runtime


class WriteInput(BaseInterfaceInputSpec):
    """One harmonized image and what it came from."""

    run_file = File(exists=True, mandatory=True)
    job_file = File(exists=True, mandatory=True)
    prepared = Str(mandatory=True)
    harmonized = Str(mandatory=True)


class WriteOutput(TraitedSpec):
    """Where the image's record is; empty if it failed."""

    record = Str()


class Write(SimpleInterface):
    """Write one harmonized image with its sidecar, masks, figures and record."""

    input_spec = WriteInput
    output_spec = WriteOutput

    def _run_interface(self, runtime: Any) -> Any:
        self._results['record'] = steps.write_image(
            self.inputs.run_file, job_file=self.inputs.job_file, prepared=self.inputs.prepared,
            harmonized=self.inputs.harmonized,
        )
        return runtime


class ReportInput(BaseInterfaceInputSpec):
    """A person whose images are written."""

    run_file = File(exists=True, mandatory=True)
    subject = Str(mandatory=True)
    records = InputMultiObject(Str(), desc='awaited, not read: the page is made from what lies on disk')


class ReportOutput(TraitedSpec):
    """Where the page is; empty if it could not be made."""

    page = Str()


class Report(SimpleInterface):
    """Make the page of one person."""

    input_spec = ReportInput
    output_spec = ReportOutput

    def _run_interface(self, runtime: Any) -> Any:
        self._results['page'] = steps.report_subject(self.inputs.run_file, subject=self.inputs.subject)
        return runtime
