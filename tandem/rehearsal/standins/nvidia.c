// A STAND-IN for NVIDIA's open kernel module: does nothing, but DKMS really compiles it for a real kernel.
#include <linux/module.h>
#include <linux/slab.h>

static int __init standin_init(void)
{
#ifdef STANDIN_BROKEN
	/* What a source that is older than a change in the kernel looks like to the compiler. */
	kfree();
#endif
	return 0;
}

static void __exit standin_exit(void)
{
}

module_init(standin_init);
module_exit(standin_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("A stand-in for NVIDIA's open kernel module");
MODULE_VERSION(STANDIN_VERSION);
