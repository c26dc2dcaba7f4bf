/* A STAND-IN for libcuda.so.1: counts the /dev/nvidiaN there are. A number in /etc/rehearsal/cuda-error is what cuInit
 * answers, as a real library does that does not fit the loaded driver (803) or the card (804).
 * Built without a C library of its own, so that it loads beside any: what it calls is in the program that loads it. */
enum { SUCCESS = 0, INVALID_VALUE = 1, NOT_INITIALIZED = 3, NO_DEVICE = 100 };
extern int access(const char *path, int mode);
extern int open(const char *path, int flags, ...);
extern long read(int file, void *text, unsigned long size);
extern int close(int file);

static int initialized;

static int cards(void)
{
    char path[] = "/dev/nvidia0";
    int count = 0;
    for (char digit = '0'; digit <= '9'; digit++) {
        path[sizeof path - 2] = digit;
        count += access(path, 0) == 0;
    }
    return count;
}

static int steered(void)
{
    char text[8];
    int number = 0, file = open("/etc/rehearsal/cuda-error", 0);
    if (file < 0)
        return SUCCESS;
    long length = read(file, text, sizeof text);
    close(file);
    for (long index = 0; index < length && text[index] >= '0' && text[index] <= '9'; index++)
        number = number * 10 + text[index] - '0';
    return number;
}

int cuInit(unsigned int flags)
{
    int error = steered();
    if (flags)
        return INVALID_VALUE;
    if (error)
        return error;
    initialized = cards() > 0;
    return initialized ? SUCCESS : NO_DEVICE;
}

int cuDeviceGetCount(int *count)
{
    if (!initialized)
        return NOT_INITIALIZED;
    *count = cards();
    return SUCCESS;
}

int cuDriverGetVersion(int *version)
{
    *version = 13000;
    return SUCCESS;
}

int cuGetErrorString(int error, const char **text)
{
    *text = error == SUCCESS ? "no error" : "an error of the stand-in for libcuda";
    return SUCCESS;
}
