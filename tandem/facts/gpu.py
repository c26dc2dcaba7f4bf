from tandem.facts.answer import Answer


class GpuState(Answer):
    """Cards, driver, kernels, packages and CDI, see ``tandem.hostside.gpu_state``."""

    program = "observe_gpu"


class CudaProof(Answer):
    """For which driver, image and CDI specification CUDA was last proven in a container, and which there are now."""

    program = "observe_cuda"
