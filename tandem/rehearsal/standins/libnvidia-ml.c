/* A STAND-IN for libnvidia-ml.so.1, which a real nvidia-smi loads: only its file name, which has the version, is looked at. */
int nvmlInit_v2(void) { return 9; /* NVML_ERROR_DRIVER_NOT_LOADED */ }
